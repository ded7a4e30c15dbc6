"""What every client's script does: try each feature, say `ok` or what went wrong, as one JSON line."""

import json
import sys

URL, KEY = sys.argv[1:3]
QUESTION = "碘片什么时候服用？"


def tell(version, features):
    """Run each feature and print {"version", "features"}; a feature is a function without arguments."""
    found = {}
    for feature in features:
        try:
            feature()
        except Exception as error:  # noqa: BLE001 - every failure of a client is a result
            found[feature.__name__] = f"{type(error).__name__}: {error}"[:300]
        else:
            found[feature.__name__] = "ok"
    print(json.dumps({"version": version, "features": found}, ensure_ascii=False))
