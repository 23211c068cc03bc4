"""Each op of the architectures once, as a pure function of tensors. Legend: archs/_spine.py."""
