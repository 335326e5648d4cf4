"""A YAML file whose scalars stay text: `password: 0123` is four characters."""

import re
from pathlib import Path
from typing import Any

import yaml

from exporter.errors import ConfigError


class _TextLoader(yaml.BaseLoader):
    """YAML whose scalars are text or None, and whose keys are given once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _KeyTwice(None, None, f'the key "{key.value}" is given twice', key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep=True)


class _KeyTwice(yaml.MarkedYAMLError):
    pass


_NULL = "tag:yaml.org,2002:null"
_TextLoader.add_implicit_resolver(_NULL, re.compile("(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_TextLoader.add_constructor(_NULL, lambda loader, node: None)


def load_document(path: Path) -> object:
    """What the file says; raises ConfigError when it cannot be read, or is not YAML."""
    try:
        text = path.read_text(encoding="utf-8")
        loader = _TextLoader(text)
        return loader.get_single_data()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}), expected a YAML file") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8, expected a YAML file saved as UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_yaml_problem(error)}") from None


def _yaml_problem(error: yaml.YAMLError) -> str:
    # PyYAML's own words quote the line, and the line may hold a password.
    mark = getattr(error, "problem_mark", None)
    line = f"line {mark.line + 1}: " if mark else ""
    problem = str(getattr(error, "problem", ""))
    if isinstance(error, _KeyTwice):
        return f"{line}{problem}, expected once"
    if "\\t" in problem:
        return f"{line}is indented with a tab, expected spaces"
    return (
        f"{line}is not YAML, expected `key: value` lines and quotes around a value that holds : # * & ! or %"
    )
