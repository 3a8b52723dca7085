"""Reading sound: decoding, resampling, tags, waveforms."""
