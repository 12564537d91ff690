#!/usr/bin/env python3
"""Writes twins.json: metadata and tensor shapes of tiny GGUF files, each converted by llama.cpp's
convert_hf_to_gguf.py from a model that transformers saved.

    pip install gguf
    python3 twins.py FOLDER-OF-GGUF-FILES NAME... > twins.json
"""
import json
import sys

from gguf import GGUFReader

folder, names = sys.argv[1], sys.argv[2:]
twins = {}
for name in names:
    reader = GGUFReader(f"{folder}/{name}.f16.gguf")
    arch = reader.fields["general.architecture"].contents()
    metadata = {
        key: field.contents()
        for key, field in reader.fields.items()
        if key.startswith(arch + ".")
    }
    # GGUF lists a shape's innermost extent first.
    tensors = {t.name: [int(n) for n in reversed(t.shape)] for t in reader.tensors}
    twins[name] = {"architecture": arch, "metadata": metadata, "tensors": tensors}
json.dump(twins, sys.stdout, indent=1, sort_keys=True)
print()
