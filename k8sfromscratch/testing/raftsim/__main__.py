"""Runs seeds; stops at the first that fails, says which, and how to run it again."""

import argparse
import traceback

from k8sfromscratch.testing.raftsim.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m k8sfromscratch.testing.raftsim", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    args = parser.parse_args()
    for seed in range(args.seed, args.seed + args.seeds):
        try:
            digest = run(seed)
        except Exception:
            traceback.print_exc()
            print(f"seed {seed} failed (after {seed - args.seed} good ones): python -m k8sfromscratch.testing.raftsim --seed {seed}")
            return 1
        if args.seeds == 1:
            print(f"seed {seed}: {digest}")
    print(f"{args.seeds} seeds passed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
