"""What a job will take, measured before it is made, and once more before its first step."""
