"""Kernels with a cache and without one."""

from nestvec import compiled


def test_kernels_work_where_no_cache_can_be_written(monkeypatch):
    real = compiled.njit

    def without_a_place(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(compiled, "njit", without_a_place)
    doubled = compiled.compiled()(lambda x: 2 * x)
    assert doubled(21) == 42
