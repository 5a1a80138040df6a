"""The camera as a linear map: collimator, rotation, attenuation, scatter. All algorithms use it."""
