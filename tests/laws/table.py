"""Tables of laws: functions of a sample that assert what holds of it."""


class Laws(dict):
    """Name of a law -> the law and the choice of the samples that it is checked on."""

    def law(self, on=lambda samples: samples):
        """Register a function as a law of the samples that ``on`` chooses."""

        def register(function):
            self[function.__name__] = (function, on)
            return function

        return register

    def check(self, name, samples, *arguments):
        """Check a law on samples; ``arguments`` are further ones of the law."""
        function, on = self[name]
        for sample in on(samples):
            function(sample, *arguments)
