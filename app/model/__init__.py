"""The model: plain frozen values that know no framework, no store and no protocol."""
