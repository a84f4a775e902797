"""The folder of rewritten models: what is found is what was kept, whole, and the folder stays within its limit."""

import errno
import os
import threading
from pathlib import Path

import platformdirs
import pytest

import onnx_saliency as xs
from onnx_saliency.exporter.cache import Cache, user_cache

MODEL = b"model\n\x00of three lines\nnot text: \xff"
FACTS = '{"input": "image"}'


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "deep" / "folder", 10_000)


def names(cache):
    return sorted(path.name for path in cache.folder.iterdir())


def used(cache, key, seconds):
    """Set when an entry was used last."""
    os.utime(cache.folder / f"{key}.rewritten", (seconds, seconds))


def test_what_was_kept_is_found(cache):
    assert cache.find("a") is None
    cache.keep("a", FACTS, MODEL)
    cache.keep("b", "{}", b"")
    assert cache.find("a") == (f"{FACTS}\n", MODEL)
    assert cache.find("b") == ("{}\n", b"")
    assert cache.find("c") is None
    assert names(cache) == ["a.rewritten", "b.rewritten"]


def test_an_entry_is_replaced(cache):
    cache.keep("a", FACTS, b"old")
    cache.keep("a", FACTS, b"new")
    assert cache.find("a") == (f"{FACTS}\n", b"new")


@pytest.mark.parametrize("size", range(0, 117, 9))
def test_half_an_entry_is_none(cache, size):
    cache.keep("a", FACTS, MODEL)
    path = cache.folder / "a.rewritten"
    data = path.read_bytes()
    path.write_bytes(data[:size])
    assert cache.find("a") is None


@pytest.mark.parametrize("place", [0, 64, 70, -1])
def test_a_damaged_entry_is_none_and_is_replaced(cache, place):
    cache.keep("a", FACTS, MODEL)
    path = cache.folder / "a.rewritten"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert cache.find("a") is None
    cache.keep("a", FACTS, MODEL)
    assert cache.find("a") == (f"{FACTS}\n", MODEL)


def test_what_was_used_least_recently_goes_first(tmp_path):
    cache = Cache(tmp_path, 3500)
    for age, key in enumerate("abc"):
        cache.keep(key, FACTS, bytes(1000))
        used(cache, key, 1000 + age)
    assert cache.find("a") is not None  # which is using it
    cache.keep("d", FACTS, bytes(1000))
    assert names(cache) == ["a.rewritten", "c.rewritten", "d.rewritten"]


def test_what_a_crash_left_goes_too_and_other_files_stay(tmp_path):
    cache = Cache(tmp_path, 1500)
    (tmp_path / "notes.txt").write_bytes(bytes(9000))
    (tmp_path / "a.0123.rewritten").write_bytes(bytes(1000))
    used(cache, "a.0123", 1000)
    cache.keep("a", FACTS, bytes(1000))
    assert names(cache) == ["a.rewritten", "notes.txt"]


def test_what_alone_is_over_the_limit_is_not_kept(cache):
    cache.keep("small", FACTS, MODEL)
    cache.keep("large", FACTS, bytes(10_000))
    assert names(cache) == ["small.rewritten"]


def test_a_folder_that_is_a_file_keeps_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    for folder in (path, path / "below"):
        cache = Cache(folder, 10_000)
        cache.keep("a", FACTS, MODEL)
        assert cache.find("a") is None
    assert path.read_text() == "mine"


@pytest.mark.parametrize("step", ["mkdir", "open", "replace", "glob", "unlink"])
def test_what_the_disk_refuses_is_no_error(cache, monkeypatch, step):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    cache.keep("a", FACTS, MODEL)
    with monkeypatch.context() as patch:
        patch.setattr(Path, step, refuse)
        cache.keep("b", FACTS, MODEL)
    assert cache.find("a") == (f"{FACTS}\n", MODEL)
    assert cache.find("b") in (None, (f"{FACTS}\n", MODEL))


def test_many_at_once(tmp_path):
    cache = Cache(tmp_path, 5000)
    wrong = []

    def work(number):
        for turn in range(100):
            key = f"k{(number + turn) % 7}"
            cache.keep(key, FACTS, key.encode() * 500)
            found = cache.find(key)
            if found not in (None, (f"{FACTS}\n", key.encode() * 500)):
                wrong.append(key)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(name.count(".") == 1 for name in names(cache))  # no parts
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5000


# --- whose, and how large ------------------------------------------------------------------------


def test_where_the_platform_keeps_caches(monkeypatch):
    for name in ("ONNX_SALIENCY_CACHE", "ONNX_SALIENCY_CACHE_LIMIT"):
        monkeypatch.delenv(name)
    expected = platformdirs.user_cache_path("onnx-saliency", appauthor=False)
    assert user_cache() == Cache(expected, 2 * 2**30)


@pytest.mark.parametrize(
    ("text", "limit"),
    [("1000", 1000), ("500M", 500 * 2**20), ("1.5 GiB", 3 * 2**29), ("2gb", 2**31), (" 3k ", 3072), ("", 2**31)],
)
def test_the_environment_says_where_and_how_much(tmp_path, monkeypatch, text, limit):
    monkeypatch.setenv("ONNX_SALIENCY_CACHE", str(tmp_path))
    monkeypatch.setenv("ONNX_SALIENCY_CACHE_LIMIT", text)
    assert user_cache() == Cache(tmp_path, limit)


def test_a_limit_of_nothing_is_no_cache(monkeypatch):
    monkeypatch.setenv("ONNX_SALIENCY_CACHE_LIMIT", "0")
    assert user_cache() is None


@pytest.mark.parametrize("text", ["much", "-1", "2X", "1e9", "٣"])
def test_a_limit_that_is_no_number(monkeypatch, text):
    monkeypatch.setenv("ONNX_SALIENCY_CACHE_LIMIT", text)
    with pytest.raises(xs.CacheError, match="ONNX_SALIENCY_CACHE_LIMIT is a number of bytes"):
        user_cache()
