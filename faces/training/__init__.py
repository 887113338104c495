"""Making the audio net: speech with known phonemes, training, judgement. Nothing at run time imports it."""
