"""Settings of the study's tests."""

from hypothesis import settings

# A busy computer is no fault of the code: no test fails because an example took long.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
