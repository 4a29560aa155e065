"""Writes what a study of interventions measured into the file that ships with the package.

    python scripts/known_effects.py falls_micro docs/studies/falls_micro

The first argument names the study, whose file says which keys each label sets; the others are folders of collected
files, or folders of studies. Effects of other studies stay as they are.
"""

import sys
from pathlib import Path

from counterpoint.experiments.collect import collect
from counterpoint.experiments.known_effects import FILE, known_of, shipped, write
from counterpoint.experiments.preventing import prevention
from counterpoint.experiments.study import load_study

PLACE = Path(__file__).parent.parent / "counterpoint" / "experiments" / FILE


def main(name: str, *paths: str) -> None:
    study = load_study(name)
    found = prevention(collect([Path(path) for path in paths]), by=study.compare)
    kept = [one for one in shipped() if one.study != study.name]
    write([*kept, *known_of(study, found)], PLACE)
    print("\n".join(found.sentences))
    print(f"wrote {PLACE}")


if __name__ == "__main__":
    main(*sys.argv[1:])
