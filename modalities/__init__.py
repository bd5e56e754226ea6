"""Input modalities: readers of recordings, and tokenizers that cut them into patches and embed the visible ones.

Each folder is one modality with a `reader.py` and a `tokenizer.py`. Import a modality by its own name,
`from modalities.video import VideoTokenizer`; nothing here loads a library that another modality needs.
"""
