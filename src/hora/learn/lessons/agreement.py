import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="3. How workers agree")


@app.cell(hide_code=True)
def _(lesson, mo):
    mo.md(f"""
    # 3. How workers agree

    **You will be able to:** {lesson.objective}

    Each worker has a vector, its gradient. Afterwards each must have the *sum* of all vectors. That is an **all-reduce**.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## Three ways, step by step

    - **Parameter server**: all send to worker 0. It adds, and sends the sum to all.
    - **Tree**: pairs add, then pairs of pairs. The sum comes back the same way.
    - **Ring**: the vector is cut into N parts. Each worker speaks to its right neighbour only. The parts go round twice: once to be
      added, once to be taken.

    Choose one and move through its rounds. A cell is one part on one worker; its number says how many workers' values are in it.
    """)
    return


@app.cell(hide_code=True)
def _(mo, schedules):
    way = mo.ui.dropdown(list(schedules.ALGORITHMS), value="ring", label="way")
    size_slider = mo.ui.slider(2, 8, value=4, label="workers", show_value=True)
    mo.hstack([way, size_slider], justify="start", gap=2)
    return size_slider, way


@app.cell
def _(mo, schedules, size_slider, way):
    schedule = schedules.ALGORITHMS[way.value](size_slider.value)
    round_slider = mo.ui.slider(0, len(schedule.rounds), value=1, label="after round", show_value=True)
    round_slider
    return round_slider, schedule


@app.cell
def _(figures, round_slider, schedule, schedules):
    history = schedules.play(schedule, [[1.0] * schedule.parts] * schedule.size)
    figures.parts_on_workers(history[round_slider.value], schedule.rounds[max(0, round_slider.value - 1)])
    return (history,)


@app.cell
def _(history, mo, schedule):
    done = sum(value == schedule.size for vector in history[-1] for value in vector)
    mo.md(
        f"After {len(schedule.rounds)} rounds **{done} of {schedule.size * schedule.parts}** cells hold the whole sum."
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## What it costs

    A message of $n$ bytes takes $\alpha + \beta n$ seconds: a start, and a time for each byte. A round takes as long as its busiest worker.
    Counting the rounds of the schedules gives, for $N$ workers:

    | | starts | bytes at the busiest worker |
    |---|---|---|
    | parameter server | $2$ | $2 (N-1)\, n$ |
    | tree | $2 \log_2 N$ | $2 \log_2 N \cdot n$ |
    | ring | $2 (N-1)$ | $2 \frac{N-1}{N}\, n$ |

    The ring's bytes do not grow with $N$. Its starts do.
    """)
    return


@app.cell
def _(figures, mo, schedules):
    n_bytes, crowd = 100e6, [2, 4, 8, 16, 32, 64]
    cost = {
        name: (crowd, [make(n).seconds(50e-6, 1 / 1.25e9, n_bytes) for n in crowd])
        for name, make in schedules.ALGORITHMS.items()
    }
    mo.vstack(
        [
            mo.md("By the formula, for 100 MB on links of 10 Gbit/s that start in 50 µs:"),
            figures.curves("An all-reduce of 100 MB", "workers", "seconds", cost, log="xy2"),
        ]
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The same, measured here

    Now real workers: four processes on this machine. Each runs the schedules above with `send` and `recv` of `torch.distributed`, and beside them
    torch's own all-reduce. Worker 0 and 1 also play ping-pong: that gives alpha and beta.
    """)
    return


@app.cell
def _(measuring):
    workers = 4
    found = measuring.measured("reduce", workers)
    message = measuring.fitted(list(measuring.SIZES), found["message"])
    return found, message, workers


@app.cell
def _(message, mo, os, workers):
    mo.md(
        f"Between two workers here: **alpha = {1e6 * message.alpha:.0f} µs**, "
        f"**beta = {1e9 * message.beta:.2g} ns a byte** ({1e-9 / max(message.beta, 1e-12):.2g} GB/s).\n\n"
        f"This machine has {os.cpu_count()} cores for {workers} workers. Where there are fewer cores than workers, workers also wait for a core, "
        "and the formula, which knows only links, is too low."
    )
    return


@app.cell
def _(figures, found, measuring, message, schedules, workers):
    sizes = list(measuring.SIZES)
    lines = {}
    for name, make in schedules.ALGORITHMS.items():
        lines[name] = (sizes, [1000 * one for one in found[name]])
        lines[f"{name}, formula"] = (
            sizes,
            [1000 * make(workers).seconds(message.alpha, message.beta, n) for n in sizes],
        )
    lines["torch"] = (sizes, [1000 * one for one in found["torch"]])
    figures.curves(
        f"All-reduce between {workers} workers here",
        "bytes",
        "milliseconds",
        lines,
        log="xy",
        dashed=[name for name in lines if "formula" in name],
    )
    return (sizes,)


@app.cell
def _(found, measuring, message, mo, schedules, sizes, workers):
    rows = [
        f"| {name} | {1000 * found[name][0]:.2f} | {1000 * found[name][-1]:.2f} | "
        f"{1000 * make(workers).seconds(message.alpha, message.beta, sizes[-1]):.2f} |"
        for name, make in schedules.ALGORITHMS.items()
    ]
    own = measuring.fitted(sizes, found["torch"])
    mo.md(
        "\n".join([f"| | ms for {sizes[0]} bytes | ms for {sizes[-1]} bytes | formula |", "|---|---|---|---|", *rows])
        + f"\n\nFor small vectors **{min(schedules.ALGORITHMS, key=lambda name: found[name][0])}** was fastest, for the largest "
        f"**{min(schedules.ALGORITHMS, key=lambda name: found[name][-1])}**. "
        f"torch's own all-reduce fits {1e6 * own.alpha:.0f} µs + {1e9 * own.beta:.2g} ns a byte."
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## Buckets

    A network has many gradients. One all-reduce for each pays alpha each time. One for all pays it once, but must wait for the last
    gradient. Between them are **buckets**: gradients joined until they hold so many bytes.

    Backward computes the last layer's gradient first. So the first bucket can travel while the rest is computed: **overlap**.
    What sticks out behind backward is *exposed* communication; only this costs time.
    """)
    return


@app.cell
def _(measuring):
    bucket_sizes = [64 * 2**10, 2**20, 4 * 2**20, 2**30]
    runs = measuring.measured("overlap", 2, *bucket_sizes)
    return bucket_sizes, runs


@app.cell(hide_code=True)
def _(bucket_sizes, mo):
    bucket_slider = mo.ui.slider(0, len(bucket_sizes) - 1, value=1, label="bucket size: smaller or larger")
    bucket_slider
    return (bucket_slider,)


@app.cell
def _(bucket_slider, figures, runs):
    run = runs[bucket_slider.value]
    figures.timeline(f"Worker 0, buckets of {run['bytes'] / 2**20:g} MiB (1024: one for all)", run["spans"])
    return


@app.cell
def _(mo, runs):
    table = "\n".join(
        f"| {one['bytes'] / 2**20:g} | {len(one['spans']) - 1} | {one['spans'][0]['end']:.1f} | "
        f"{one['total'] - one['spans'][0]['end']:.1f} | {one['total']:.1f} |"
        for one in runs
    )
    fastest = min(runs, key=lambda one: one["total"])
    mo.md(f"""
| bucket, MiB | buckets | backward, ms | exposed, ms | total, ms |
|---|---|---|---|---|
{table}

These are real runs of two workers here, and each row is the median one. The fastest has buckets of **{fastest["bytes"] / 2**20:g} MiB**.
Here the CPU computes *and* sends, so overlap slows backward down. A GPU's network card sends beside it.
""")
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The approaches on one page

    Averaging gradients is one way to share a training. What does each way send? The sliders give a stack of transformer layers; the table
    computes what each worker sends in a step, by ring collectives, with numbers of 4 bytes.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    n_slider = mo.ui.slider(steps=[2, 4, 8, 16, 32, 64], value=8, label="workers", show_value=True)
    width_slider = mo.ui.slider(steps=[512, 1024, 2048, 4096, 8192], value=1024, label="width", show_value=True)
    tokens_slider = mo.ui.slider(
        steps=[1024, 2048, 4096, 8192, 16384], value=8192, label="tokens of a worker", show_value=True
    )
    mo.hstack([n_slider, width_slider, tokens_slider], justify="start", gap=2)
    return n_slider, tokens_slider, width_slider


@app.cell
def _(approaches, mo, n_slider, tokens_slider, width_slider):
    network = approaches.Network(width=width_slider.value, tokens=tokens_slider.value)
    ways = approaches.approaches(network, n_slider.value)
    listed = "\n".join(
        f"| **{one.name}** | {one.cuts} | {one.sends} | {one.bytes_a_step / 1e6:,.0f} | {one.kept:.3g} |"
        for one in ways
    )
    least = min(ways, key=lambda one: one.bytes_a_step)
    mo.md(f"""
A network of {network.layers} layers, {network.parameters / 1e6:,.0f} million parameters:

| | cuts | sends | MB a step | parameters kept |
|---|---|---|---|---|
{listed}

The least is sent by **{least.name}**. Bytes are not all: a pipeline's workers wait for each other, local SGD is another training, and tensor
parallelism sends in the middle of each layer, where nothing hides it.
""")
    return


@app.cell(hide_code=True)
def _(grading, lesson, mo):
    write = mo.ui.button(label=f"Write {lesson.answer_name} here", on_click=lambda _: grading.start(lesson.number))
    judge = mo.ui.run_button(label="Grade it")
    mo.vstack(
        [
            mo.md(f"""
    ## Your turn

    {lesson.exercise}

    The first button writes `{lesson.answer_name}` into the directory where you started the course. Write it, then grade it.
    In a terminal: `hora learn 3 --grade {lesson.answer_name}`.
    """),
            mo.hstack([write, judge], justify="start"),
        ]
    )
    return judge, write


@app.cell
def _(grading, judge, lesson, mo, write):
    mo.stop(not (judge.value or write.value), mo.md("*Not graded yet.*"))
    mo.md(f"Wrote `{write.value}`." if not judge.value else grading.grade(lesson.number).markdown())
    return


@app.cell
def _():
    import os

    import marimo as mo

    from hora.learn import approaches, course, figures, grading, measuring, schedules

    lesson = course.lesson(3)
    return approaches, figures, grading, lesson, measuring, mo, os, schedules


if __name__ == "__main__":
    app.run()
