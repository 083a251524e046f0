"""The late pipeline: passes over the graph of which kernels are made, just before fusion.

They run after the pipeline that ``sg.compile`` was given, so that derivatives and other passes see
one loop, one convolution, one product. ``passes.pipelines.LATE`` has their order. For example,
``nn.conv2d`` of 3x3 taps::

    %1 = conv(%x, %w)          %1 = tile_taps(%w)
    %2 = add(%1, %b)     ->    %2 = matmul(...)
                               ...
"""
