"""staticgrad in the formats of other benchmark suites, so that it runs beside their tools."""
