"""Why an adapter is refused: a stable code, and one sentence of what was found and what to do about it.

Codes are read by scripts and stand in answers: add one, never rename one. Raised by check.py, repair.py
and the files that they call, by nobody else.
"""

from __future__ import annotations

from enum import StrEnum

LONGEST_NAME = 120


class Code(StrEnum):
    """The value is the code; `repair` ends the sentence that begins with what was found."""

    repair: str

    def __new__(cls, code: str, repair: str) -> Code:
        member = str.__new__(cls, code)
        member._value_ = code
        member.repair = repair
        return member

    # The folder and its files
    FOLDER_MISSING = "folder_missing", "give the folder that holds the adapter's two files"
    FILE_MISSING = "file_missing", "copy the adapter again, the writing of it has not ended"
    EXTRA_FILE = "extra_file", "remove everything but adapter_config.json and adapter_model.safetensors"
    PICKLE = "pickle", "save the weights with safetensors and remove this file, it can run code"
    LINK = "link", "copy the files themselves (cp -L) into a folder of their own"
    NOT_A_FILE = "not_a_file", "put a regular file in its place"
    FILE_TOO_LARGE = "file_too_large", "keep only what PEFT's save_pretrained writes"
    UNREADABLE = "unreadable", "check the disk and the rights of the folder and its files"
    CONTENT_CHANGED = "content_changed", "restore the folder from a copy, this one is damaged"
    # adapter_config.json and manifest.json
    BAD_JSON = "bad_json", "save the adapter again with PEFT's save_pretrained"
    DUPLICATE_KEY = "duplicate_key", "keep the key once, readers differ in which one they take"
    BAD_CONFIG = "bad_config", "save the adapter again with PEFT's save_pretrained"
    NOT_LORA = "not_lora", "train a LoRA adapter (peft_type LORA, task_type CAUSAL_LM)"
    DORA = "dora", "train it again with use_dora=False"
    BIAS = "bias", 'train it again with bias="none" and lora_bias=False'
    MODULES_TO_SAVE = "modules_to_save", "train it again with modules_to_save=None"
    VOCABULARY = "vocabulary", "train it again without new tokens and without embedding or LM head"
    CHANGED_BASE = (
        "changed_base",
        "convert it with PEFT's path_initial_model_for_weight_conversion, or train it with a plain init",
    )
    UNSUPPORTED_FEATURE = "unsupported_feature", "train it again without it, the engine would ignore it"
    PATTERN = "pattern", "write literal module names (letters, digits, _ and dots), 64 at most"
    RANK = "rank", "train it again with a lower rank, or raise CHORUS_MAX_LORA_RANK"
    SCALING = "scaling", "set lora_alpha to the number that it was trained with"
    BAD_MANIFEST = "bad_manifest", "remove manifest.json and import the adapter again"
    OTHER_BASE = "other_base", "or serve the base that it was made for"
    # The header of adapter_model.safetensors
    TRUNCATED = "truncated", "copy the file again, it is not whole"
    HEADER_TOO_LARGE = "header_too_large", "save the adapter's own tensors, and only those, with safetensors"
    BAD_HEADER = "bad_header", "save the weights again with safetensors' save_file"
    DTYPE = "dtype", "save the weights as bfloat16, float16 or float32"
    # The tensors against the base
    PREFIX = (
        "prefix",
        "save it with PEFT's save_pretrained, or rename: base_model.model.<layer>.lora_A.weight",
    )
    UNSERVED_MODULE = "unserved_module", "train it on the linear layers of attention and MLP of this base"
    UNEXPECTED_TENSOR = "unexpected_tensor", "give the adapter that was trained on this base, with its config"
    MISSING_TENSOR = "missing_tensor", "give the adapter that was trained on this base, with its config"
    RANK_MISMATCH = "rank_mismatch", "give the adapter_config.json that was saved with these weights"
    SHAPE = "shape", "give the adapter that was trained on this base"
    BASE_UNREADABLE = "base_unreadable", "serve an unquantised base with *.safetensors weights"
    # Values
    NOT_FINITE = "not_finite", "train it again with a lower learning rate"
    OUT_OF_BOUNDS = "out_of_bounds", "copy it again, or train it again with a lower learning rate"
    NO_EFFECT = "no_effect", "train it for more steps, it answers as the base does"


class Refused(ValueError):
    """The adapter must not reach the engine; str() of it is the sentence.

    `file` is the name of the one at fault, where members.py or repair.py know it.
    """

    def __init__(self, code: Code, found: str, file: str | None = None) -> None:
        super().__init__(f"{found}; {code.repair}.")
        self.code, self.message, self.file = code, str(self), file


def shown(name: str) -> str:
    """A name out of an untrusted file, safe to print: ASCII, short, what cannot be seen is spelled out."""
    text = ascii(name[: LONGEST_NAME + 1])
    return text if len(name) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}...'"
