"""Verify every checksum of every file, and say what would be lost.

Nothing is changed. The exit status is 0 if all is well, and 1 if anything is damaged or missing.
What a writer that died had not finished is no damage; it is mentioned. With the environment
variable PARSL_CKPT_KEY, signatures are verified as well.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from parsl_ckpt.cli import _common

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.verify import Report

SHOWN = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    _common.runs(parser, "which runs")
    _common.run_dir(parser)
    _common.as_json(parser)


def run(options: argparse.Namespace) -> int:
    from parsl_ckpt.checkpoint import maintain

    backend, places = _common.places(options, options.runs)
    with _common.progress("verifying", _common.total_size(backend, places)) as done:
        report = maintain.verify(options.run_dir, only=options.runs or None, progress=done)
    if options.json:
        told = asdict(report)
        told["damage"] = [damage._asdict() for damage in report.damage]
        told["lost"] = [lost._asdict() for lost in report.lost]
        _common.show_json({"good": report.good, "lost_records": report.lost_records, **told})
    else:
        _common.show(*_lines(report, options.run_dir))
    return 0 if report.good else 1


def _lines(report: Report, directory: str) -> list[str]:
    lines = [
        f"{damage.path}: {damage.what}"
        + (
            f" ({_common.plural(damage.size, 'byte')} from {damage.offset:,})"
            if damage.size
            else ""
        )
        for damage in report.damage[:SHOWN]
    ]
    if len(report.damage) > SHOWN:
        lines.append(f"... and {len(report.damage) - SHOWN:,} more damaged places")
    lines += [
        f"{lost.path}: the result {lost.key.hex()[:16]} of {lost.app or 'no app'} is lost: "
        f"{lost.why}"
        for lost in report.lost[:SHOWN]
    ]
    if len(report.lost) > SHOWN:
        lines.append(f"... and {len(report.lost) - SHOWN:,} more results are lost")
    if report.torn:
        lines.append(
            f"{_common.amount(report.torn)} at the end of a file belong to a record that was not "
            "finished when its writer died, or is being written; that is no damage."
        )
    if report.leftover:
        lines.append(
            f"{_common.amount(report.leftover)} are of files that were never finished; "
            "'parsl-ckpt repair' removes them."
        )
    lines.append(
        f"Verified {_common.plural(report.files, 'file')}, {_common.amount(report.size)}, "
        f"{_common.plural(report.records, 'whole record')} in "
        f"{_common.plural(len(report.places), 'checkpoint')}."
    )
    if not report.places:
        return [f"There are no runs in {directory}, so there is nothing to verify."]
    if report.good:
        lines.append("All is well.")
    else:
        what = _common.plural(report.lost_records, "record")
        lines.append(
            f"Lost: {what}. All others are whole: they are found as before, and what is lost is "
            "computed again. 'parsl-ckpt repair' drops the damaged bytes."
            if report.lost_records
            else "No record is lost: only indexes, which 'parsl-ckpt repair' makes anew, or what "
            "no record needs."
            if any(damage.size for damage in report.damage)
            else "No byte is damaged."
        )
    return lines
