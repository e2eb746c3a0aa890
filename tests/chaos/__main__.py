"""``python -m tests.chaos``: the full run and the broken builds; the last line reports whether all promises held."""

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.key_runs import KEY_BUILDS, KEY_SECONDS, KeySetting, key_faults, keyed, try_key_build
from tests.chaos.report import report
from tests.chaos.runs import (
    BROKEN_BUILDS,
    FAIL_OVERS,
    FILLED_DISKS,
    FULL_SECONDS,
    Run,
    Setting,
    failing_over,
    full_disk,
    mixed,
    runs_of,
    scaled,
    try_broken_build,
)

PARTS = ("mixed", "disk", "fail-over", "keys", "broken")


def main() -> int:
    """Run the chosen parts, and report the result."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", default="", help="repeat the plan of an earlier run")
    parser.add_argument("--scale", type=float, default=1.0, help="the share of the full run; 1 takes 25 minutes")
    parser.add_argument("--runs", type=int, help="number of workflow runs at any scale; a full run has 200")
    parser.add_argument("--part", choices=PARTS, action="append", help="run only these parts")
    parser.add_argument("--only", help="try only this broken build")
    parser.add_argument("--report", type=Path, help="also write the report to this file")
    parser.add_argument("--keep", action="store_true", help="keep ledgers and logs")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that servers and workers are stopped
    seed = args.seed or secrets.token_hex(4)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.chmod(0o755)
    sys.stdout.write(f"SEED={seed} in {folder}\n")
    begin = time.monotonic()
    runs: list[Run] = []
    broken: list[Run] = []
    for part in args.part or PARTS:
        if part == "broken":
            chosen = [each for each in BROKEN_BUILDS if args.only in {None, each.patch}]
            broken += [_print_summary(try_broken_build(folder / each.patch, each, seed)) for each in chosen]
            limits = [each for each in KEY_BUILDS if args.only in {None, each.patch}]
            broken += [_print_summary(try_key_build(folder / each.patch, each, seed)) for each in limits]
        else:
            runs.append(_print_summary(_run(part, folder / part, seed, args.scale, args.runs)))
    text = report(runs, broken, args.scale, time.monotonic() - begin)
    sys.stdout.write(text)
    if args.report is not None:
        args.report.write_text(text)
    held = not any(run.violations for run in runs) and all(run.violations and not run.remarks for run in broken)
    if held and not args.keep:
        shutil.rmtree(folder)
    sys.stdout.write(f"{'all promises held' if held else f'NOT all promises held; see {folder}'}; SEED={seed}\n")
    return 0 if held else 1


def _run(part: str, folder: Path, seed: str, scale: float, runs: int | None) -> Run:
    if part == "mixed":
        started = runs_of(scale) if runs is None else runs
        return mixed(folder, Setting(seed, scaled(scale), FULL_SECONDS * scale, runs=started))
    if part == "keys":
        return keyed(folder, KeySetting(seed, key_faults(scale), KEY_SECONDS * scale))
    if part == "disk":
        return full_disk(folder, Setting(seed, {"disk filled up": max(1, round(FILLED_DISKS * scale))}, 5.0))
    return failing_over(folder, Setting(seed, {"fail-over": max(1, round(FAIL_OVERS * scale))}, 5.0))


def _print_summary(run: Run) -> Run:
    sys.stdout.write(
        f"{run.name}: {run.seconds:.0f} s, {run.faults.total()} faults, {run.tasks['ended']:,} tasks, "
        f"{len(run.violations)} violations\n"
    )
    for violation in run.violations[:10]:
        sys.stdout.write(f"  {violation}\n")
    for remark in [*run.measured, *run.remarks]:
        sys.stdout.write(f"  {remark}\n")
    sys.stdout.flush()
    return run


if __name__ == "__main__":
    sys.exit(main())
