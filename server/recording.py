"""`hl-replica record`, and what `serve --record` shares with it: everything from upstream, into files."""

import asyncio
import logging
from pathlib import Path

from replica import Clock, Recorder, RecorderSettings, Replica, ReplicaError, Rotation
from server.settings import Settings, SettingsError, mask_url, one_line

logger = logging.getLogger(__name__)

LISTS = ("meta", "spotMeta", "perpDexs")
"""Asked for once, so that a replay has them; every file of the recording repeats them."""
RETRY_S = 10.0


def open_recorder(settings: Settings, base_url: str, clock: Clock) -> Recorder | None:
    """A recorder at work, None without `record_dir`. Raises `SettingsError` for a folder that will not do."""
    if settings.record_dir is None:
        return None
    recorder = Recorder(
        RecorderSettings(
            folder=Path(settings.record_dir),
            upstream=mask_url(base_url),
            rotation=Rotation(
                bytes=settings.record_rotate_mb << 20,
                seconds=settings.record_rotate_minutes * 60.0,
                keep=settings.record_keep,
            ),
            backlog_bytes=settings.record_backlog_mb << 20,
            writes=settings.record_writes,
        ),
        clock=clock,
    )
    try:
        recorder.open()
    except OSError as error:
        shown = one_line(settings.record_dir)
        raise SettingsError(f"record_dir: can't record into {shown}: {error.strerror}") from None
    return recorder


async def record(replica: Replica, stop: asyncio.Event, *, for_s: float | None) -> None:
    """Follow what the replica is to follow until `stop` is set, or for `for_s` seconds."""
    await replica.start()
    lists = asyncio.create_task(ask_for_lists(replica), name="lists of markets")
    try:
        async with asyncio.timeout(for_s):
            await stop.wait()
    except TimeoutError:
        pass  # the seconds are over
    finally:
        lists.cancel()
        await asyncio.wait([lists])
        await replica.stop()


async def ask_for_lists(replica: Replica) -> None:
    """Ask for each list until it is answered."""
    missing = list(LISTS)
    while missing:
        for type_ in tuple(missing):
            if type_ == "perpDexs" and replica.perp_dexs is not None:
                missing.remove(type_)  # the replica asks for it by itself when it starts
                continue
            try:
                answer = await replica.forward_info(
                    type_, b'{"type":"%s"}' % type_.encode(), "application/json"
                )
            except ReplicaError as error:
                logger.info("no %s yet: %s", type_, error)
            else:
                if answer.status == 200:
                    missing.remove(type_)
        if missing:
            await asyncio.sleep(RETRY_S)


def summary(recorder: Recorder) -> str:
    """What became of it, in one line."""
    lost = f", {recorder.lost} records lost" if recorder.lost else ""
    files = "1 file" if recorder.files == 1 else f"{recorder.files} files"
    return (
        f"recorded {recorder.frames} frames and {recorder.answers} answers"
        f" in {files} of {one_line(str(recorder.settings.folder))}{lost}"
    )
