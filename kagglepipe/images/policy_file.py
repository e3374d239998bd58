"""A user's own augmentation policy: a YAML or JSON file in the serialised form of albumentations (`A.save`).

The file names classes of albumentations and their arguments, nothing else; `images.augment` makes the transforms.
Without albumentations, so that the name of a run is known at once.
"""

import json
from typing import Any

from kagglepipe.errors import UserError
from kagglepipe.files import absolute, sha256
from kagglepipe.options import POLICY_FILES

FORM = "needed is what albumentations.save(Compose([…]), FILE, data_format='yaml') writes"


def is_policy_file(policy: str) -> bool:
    """Whether a policy is a file, not a name.

    >>> is_policy_file("own.yaml"), is_policy_file("light")
    (True, False)
    """
    return policy.endswith(POLICY_FILES)


def read_policy(policy: str) -> dict[str, Any]:
    """Read the policy in a file, as plain values. Raises UserError for a file that holds none, naming its fault."""
    import yaml

    file = absolute(policy)
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))  # of JSON as well, which is YAML
        json.dumps(values)
    except OSError as error:
        raise UserError(f"augmentation.policy={policy} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"augmentation.policy={policy} is no plain YAML: {why}; {FORM}") from error
    if not isinstance(values, dict) or not isinstance(values.get("transform"), dict):
        raise UserError(f"augmentation.policy={policy} has no `transform:` at its top; {FORM}")
    return values


def policy_hash(policy: str) -> str:
    """Hash of what a file says, whatever its layout and comments. Raises UserError as `read_policy`."""
    return sha256(json.dumps(read_policy(policy)["transform"], sort_keys=True))
