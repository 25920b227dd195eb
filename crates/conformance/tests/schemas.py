"""Reads documents, one JSON object a line, and says of each what a JSON Schema validator says: `null` or its keyword."""
import json, sys
from jsonschema import Draft202012Validator

validators = {}
for line in sys.stdin:
    question = json.loads(line)
    path = question["schema"]
    if path not in validators:
        with open(path, encoding="utf-8") as file:
            schema = json.load(file)
        Draft202012Validator.check_schema(schema)
        validators[path] = Draft202012Validator(schema)
    error = next(validators[path].iter_errors(question["document"]), None)
    print(json.dumps(error and error.validator))
