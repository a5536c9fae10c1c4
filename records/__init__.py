"""What outlives a process: database rows, blobs on disk, migrations. Imports nothing else of ours."""
