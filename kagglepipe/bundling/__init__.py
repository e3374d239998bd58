"""What a Kaggle notebook without internet needs: the wheels, and the notebook itself."""
