"""Sample competitions drawn by code: photos and video clips, with no download."""
