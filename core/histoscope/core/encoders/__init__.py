"""Networks that turn images into features: timm's, and the baseline every figure stands beside."""
