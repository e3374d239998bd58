"""The tools beside the street; `commands.py` is the door to all of them and to the stages."""
