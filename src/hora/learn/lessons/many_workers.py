import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="2. From one to many")


@app.cell(hide_code=True)
def _(lesson, mo):
    mo.md(f"""
    # 2. From one to many

    **You will be able to:** {lesson.objective}

    *Data-parallel training*: each of N workers has the whole network. Each computes the gradient of its slice of the batch.
    The gradients are averaged, and all workers make the same step.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Three lines of proof

    A batch of $B$ samples has the loss $L = \frac1B \sum_i \ell_i$. Cut it into $N$ slices of $B/N$ samples.

    1. Group the sum by slices: $L = \frac1N \sum_k L_k$, with $L_k = \frac{N}{B} \sum_{i \in k} \ell_i$, the mean loss of slice $k$.
    2. Derivatives are linear: $\nabla L = \frac1N \sum_k \nabla L_k$. The mean of the workers' gradients is the batch's gradient.
    3. Equal weights and equal gradients give equal weights after the step. So it holds for every step.
    """)
    return


@app.cell
def _(averaging, nn):
    model = averaging.network()
    mean_loss = nn.functional.mse_loss
    x, y = averaging.samples(64)
    whole = averaging.gradient(model, mean_loss, x, y)
    return mean_loss, model, whole, x, y


@app.cell
def _(averaging, mean_loss, mo, model, whole, x, y):
    mo.md(
        "| workers | the averaged gradient is apart from the batch's by |\n|---|---|\n"
        + "\n".join(
            f"| {n} | {averaging.apart(averaging.averaged(model, mean_loss, x, y, n), whole):.1e} |" for n in (2, 4, 8)
        )
        + "\n\nThat is the rounding of double precision: 64 samples, cut evenly."
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The same with real workers

    So far one process played all workers. Now `hora convert` writes a script for several, and `hora verify` runs it on two
    workers and compares every gradient with those of one. This is the script:
    """)
    return


@app.cell
def _(judging, mo):
    mo.md(f"```python\n{judging.script('mean').read_text()}\n```")
    return


@app.cell
def _(judging):
    right = judging.judged("mean")
    return (right,)


@app.cell
def _(judging, mo, right):
    mo.md(
        f"What `hora convert` changed:\n\n```diff\n{judging.changed(judging.script('mean').read_text(), right.text)}\n```\n\n"
        f"{judging.as_markdown(right.verification)}"
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## What the proof needs

    The proof used five things. Take one away, and it is another training:

    | the proof says | taken away by |
    |---|---|
    | the loss is a *mean* | a sum over the batch |
    | slices are *equal* | a batch that N does not divide |
    | a sample's loss depends on *this sample* | BatchNorm |
    | the random numbers are *one worker's* | dropout |
    | workers start *equal* | a missing broadcast |

    We break each, look at what happens, and mend it.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""## 1. The loss is a sum""")
    return


@app.cell
def _(averaging, mo, model, nn, x, y):
    sum_loss = nn.MSELoss(reduction="sum")
    of_sum = averaging.gradient(model, sum_loss, x, y)
    lengths = [float(averaging.averaged(model, sum_loss, x, y, n).norm() / of_sum.norm()) for n in (2, 4, 8)]
    mo.md(
        f"With 2, 4 and 8 workers the averaged gradient is {lengths[0]:.4g}, {lengths[1]:.4g} and {lengths[2]:.4g} of the right one: "
        "**N times too small**. No error is raised. Adam divides by the gradient's size, so with Adam even the curve looks right."
    )
    return


@app.cell
def _(judging, mo):
    broken_sum = judging.judged("sums", without={"HR303"})
    mo.md(f"Broken:\n\n```diff\n{broken_sum.missing}\n```\n\n{judging.as_markdown(broken_sum.verification)}")
    return


@app.cell
def _(judging, mo):
    mended_sum = judging.judged("sums")
    mo.md(f"Mended: the loss is multiplied by N.\n\n{judging.as_markdown(mended_sum.verification)}")
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## 2. The slices are not equal

    64 samples over 3 workers are 22, 21 and 21. A mean of means gives a sample of a small slice more weight than one of a large.
    Move the slider: where is the error zero?
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    batch_slider = mo.ui.slider(3, 33, value=5, label="samples in the batch", show_value=True)
    batch_slider
    return (batch_slider,)


@app.cell
def _(averaging, batch_slider, figures, mean_loss, model, x, y):
    counts = [2, 3, 4, 5, 6, 7, 8]
    few = [n for n in counts if n <= batch_slider.value]
    own_x, own_y = x[: batch_slider.value], y[: batch_slider.value]
    of_few = averaging.gradient(model, mean_loss, own_x, own_y)
    errors = {
        name: [
            averaging.apart(averaging.averaged(model, mean_loss, own_x, own_y, n, weighted=weighted), of_few)
            for n in few
        ]
        for name, weighted in (("mean of means", False), ("weighted by samples", True))
    }
    figures.bars(
        f"Error of the gradient, {batch_slider.value} samples",
        "workers",
        "relative error",
        {name: (few, values) for name, values in errors.items()},
    )
    return (errors,)


@app.cell
def _(batch_slider, errors, mo):
    mo.md(
        f"With {batch_slider.value} samples the mean of means is off by up to **{max(errors['mean of means']):.2g}**, "
        f"the weighted mean by up to {max(errors['weighted by samples']):.1e}."
    )
    return


@app.cell
def _(judging, mo):
    broken_weight = judging.judged("mean", without={"HR206"})
    mo.md(
        f"Broken, in the last batch of 5:\n\n```diff\n{broken_weight.missing}\n```\n\n{judging.as_markdown(broken_weight.verification)}"
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    Mended is the conversion above: `loader.weight` is this worker's samples, over those of an equal slice. Its verdict was
    EQUIVALENT.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## 3. BatchNorm

    BatchNorm subtracts the batch's mean. On a worker that is the *slice's* mean. So a sample's loss depends on its neighbours, and cutting
    the batch changes the function, not only the arithmetic.
    """)
    return


@app.cell
def _(averaging, figures, mean_loss, nn, x, y):
    normalised = averaging.network(nn.BatchNorm1d(16))
    of_whole = averaging.gradient(normalised, mean_loss, x, y)
    cuts = [1, 2, 4, 8, 16]
    drift = [averaging.apart(averaging.averaged(normalised, mean_loss, x, y, n), of_whole) for n in cuts]
    figures.curves(
        "BatchNorm on slices of 64 samples",
        "workers",
        "relative error of the gradient",
        {"averaged": (cuts, drift)},
        log="x2",
    )
    return cuts, drift


@app.cell
def _(cuts, drift, mo):
    mo.md(
        f"With {cuts[1]} workers the gradient is off by **{drift[1]:.2g}**, with {cuts[-1]} (slices of {64 // cuts[-1]}) by "
        f"**{drift[-1]:.2g}**. No weight mends this: the workers must share the statistics (*synchronised BatchNorm*), or you "
        "accept another training."
    )
    return


@app.cell
def _(judging, mo):
    both = judging.judged("normalised")
    mo.md(
        "`hora verify` says which of the two it means. It synchronises BatchNorm for the comparison and says so; beside it stands "
        f"how far the workers' own statistics drift apart:\n\n{judging.as_markdown(both.verification)}"
    )
    return (both,)


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## 4. Dropout

    Two workers with one seed draw the *same* masks for *different* samples. The gradient is still right on average. But its noise
    does not average out. We measure the noise that dropout alone puts into the averaged gradient:
    """)
    return


@app.cell
def _(averaging, figures):
    crowd = [1, 2, 4, 8]
    masks = {
        name: (crowd, [averaging.dropout_noise(n, same_masks=same) for n in crowd])
        for name, same in (("one seed for all", True), ("a seed for each", False))
    }
    figures.curves(
        "Noise of the averaged gradient from dropout",
        "workers, 8 samples each",
        "mean squared distance",
        masks,
        log="x2",
    )
    return (masks,)


@app.cell
def _(both, masks, mo):
    same, own = masks["one seed for all"][1][-1], masks["a seed for each"][1][-1]
    mo.md(
        f"With 8 workers one seed for all leaves **{same / own:.1f}** times the noise. The mend is one line: seed each worker with "
        f"`seed + hvd.rank()` after the weights are equal.\n\nTwo runs with other masks cannot be compared. "
        f"So `hora verify` switched off: {', '.join(both.verification.neutralised)}."
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## 5. A missing broadcast

    Workers that start from weights of their own, and average their gradients, never meet: all make the same step, so what lies
    between them stays.
    """)
    return


@app.cell
def _(averaging, figures):
    between = averaging.distances_of_starts([0, 1], steps=40)
    figures.curves(
        "Two workers with starts of their own",
        "step",
        "distance of their weights",
        {
            "not broadcast": (list(range(41)), between),
            "broadcast": (list(range(41)), averaging.distances_of_starts([0, 0], steps=40)),
        },
    )
    return (between,)


@app.cell
def _(between, judging, mo):
    broken_start = judging.judged("mean", without={"HR302"})
    mo.md(
        f"They start {between[0]:.4f} apart and are {between[-1]:.4f} apart after 40 steps.\n\nBroken:\n\n```diff\n"
        f"{broken_start.missing}\n```\n\n{judging.as_markdown(broken_start.verification)}"
    )
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

    The first button writes `{lesson.answer_name}` into the directory where you started the course. Mend it, then grade it:
    that takes some ten seconds. In a terminal: `hora learn 2 --grade {lesson.answer_name}`.
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
    import marimo as mo
    from torch import nn

    from hora.learn import averaging, course, figures, grading, judging

    lesson = course.lesson(2)
    return averaging, figures, grading, judging, lesson, mo, nn


if __name__ == "__main__":
    app.run()
