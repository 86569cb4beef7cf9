"""From the world to the model: feeds, and the pipeline that writes what they say to the ports."""
