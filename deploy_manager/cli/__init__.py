"""What the command lines share: manage.py and fab."""
