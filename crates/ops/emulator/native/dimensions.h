// The dimensions of heads that are compiled for the tests: with and without padding, on both sizes of tiles.
DIMENSION(8)
DIMENSION(16)
DIMENSION(24)
DIMENSION(32)
DIMENSION(64)
DIMENSION(96)
DIMENSION(128)
