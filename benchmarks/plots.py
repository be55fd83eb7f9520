"""The three pictures."""

from __future__ import annotations

from pathlib import Path

from sampling import Samples

HERE = Path(__file__).resolve().parent


def draw(
    latencies: dict[str, Samples],
    rates: dict[int, dict[str, Samples]],
    sizes: list[tuple[int, Samples, Samples]],
    machine: str,
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(
        {"figure.figsize": (8, 4), "figure.dpi": 110, "axes.grid": True, "grid.alpha": 0.3, "font.size": 9}
    )

    figure, axes = plt.subplots()
    for name, s in sorted(latencies.items(), key=lambda item: item[1].median):
        values = sorted(v * 1e3 for v in s.values)
        axes.step(values, [(i + 1) / len(values) for i in range(len(values))], label=f"{name} ({s.median * 1e3:.2f} ms)",
                  linewidth=2.2 if name.startswith("pyjail") else 1.2, linestyle="--" if name == "subprocess.run" else "-")  # fmt: skip
    axes.set(xscale="log", xlabel="ms for one run of /bin/true", ylabel="share of runs", title=f"Latency, {machine}")
    ticks = [0.5, 1, 2, 5, 10, 20, 50]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.legend(loc="lower right")
    _save(figure, "latency")

    figure, axes = plt.subplots()
    for name in next(iter(rates.values())):
        each = [by_name[name] for by_name in rates.values()]
        axes.errorbar([str(n) for n in rates], [x.median for x in each], yerr=[x.median * x.spread for x in each], marker="o", capsize=3,
                      label=name, linewidth=2.2 if name.startswith("pyjail") else 1.2,
                      linestyle="--" if name == "subprocess.run" else "-")  # fmt: skip
    axes.set(xlabel="threads", ylabel="runs per second", title=f"Throughput, {machine}", ylim=(0, None))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
    axes.legend(loc="upper center", ncols=4)
    _save(figure, "throughput")

    figure, axes = plt.subplots()
    x = [size / 2**20 for size, _, _ in sizes]
    for label, own in (("pyjail.run", [o for _, o, _ in sizes]), ("subprocess.run", [b for _, _, b in sizes])):
        axes.errorbar(
            x,
            [v.median * 1e3 for v in own],
            yerr=[v.median * v.spread * 1e3 for v in own],
            marker="o",
            capsize=3,
            label=label,
        )
    axes.set(xscale="log", xlabel="resident MiB of the embedder", ylabel="ms", title=f"Latency by size of the embedder, {machine}",
             ylim=(0, None))  # fmt: skip
    axes.set_xticks(x, [f"{v:.0f}" for v in x])
    axes.minorticks_off()
    axes.set_ylim(0, axes.get_ylim()[1] * 1.2)
    axes.legend(loc="upper right")
    _save(figure, "embedder")
    plt.close("all")


def _save(figure: object, name: str) -> None:
    figure.tight_layout()  # type: ignore[attr-defined]
    figure.savefig(HERE / f"{name}.png", metadata={"Software": ""})  # type: ignore[attr-defined]
