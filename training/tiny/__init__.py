"""The builder of the base model that ships with the project: `--base tiny`, in adapters/tiny.

    recipe.py      every number of the build             build.py      all of it in order
    slots.py       invented names, items, numbers        english.py    the English that ships with Python
    grammar.py     random sentences from phrases/*.txt   tasks/        the kinds of conversation, their shares
    corpus.py      conversations to rows of tokens       tokenizer.py  byte-level BPE, template.jinja
    model.py       the Llama's shape                     circuit.py    the weights that it begins with
    train.py       the loop                              evaluate.py   held-out figures
    package.py     the folder and its hashes             __main__.py   the command

Nothing is downloaded. `import` does nothing; the server never imports this.
"""
