"""Images to features: timm networks, and the baselines every figure stands beside."""
