"""Wheels and notebook for Kaggle without internet."""
