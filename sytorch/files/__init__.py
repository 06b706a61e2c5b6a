"""Networks in files of other programs, read as chains and written back with nothing but the changed numbers changed."""
