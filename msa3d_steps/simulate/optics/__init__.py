"""NIRSpec's optics: coefficients of its reference models, and the models made of them."""
