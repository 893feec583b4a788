import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="1. One neuron")


@app.cell(hide_code=True)
def _(lesson, mo):
    mo.md(f"""
    # 1. One neuron

    **You will be able to:** {lesson.objective}

    Every number and figure on this page is computed while you look at it.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The model

    A linear neuron has one weight $w$ and one bias $b$. It says $\\hat y = w x + b$.

    Our data lie on a line, with noise.
    """)
    return


@app.cell
def _(neuron):
    data = neuron.noisy_line(samples=64)
    lowest = neuron.best(data)
    return data, lowest


@app.cell(hide_code=True)
def _(mo):
    w_slider = mo.ui.slider(-3, 4, step=0.1, value=0.0, label="w", show_value=True)
    b_slider = mo.ui.slider(-3, 3, step=0.1, value=0.0, label="b", show_value=True)
    mo.hstack([w_slider, b_slider], justify="start", gap=2)
    return b_slider, w_slider


@app.cell
def _(b_slider, data, figures, w_slider):
    figures.line_and_samples(data, {"your line": (w_slider.value, b_slider.value)})
    return


@app.cell
def _(b_slider, data, lowest, mo, neuron, torch, w_slider):
    yours = float(neuron.loss(data, torch.tensor(w_slider.value), torch.tensor(b_slider.value)))
    least = float(neuron.loss(data, *lowest))
    mo.md(
        f"The loss of your line is **{yours:.3f}**. The least that any line has is **{least:.3f}**. Move the sliders."
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The loss and its surface

    The loss is the mean of the squared errors:
    $L(w, b) = \\frac1n \\sum_i (w x_i + b - y_i)^2$.

    Each pair $(w, b)$ is a line, and has a loss. So the loss is a surface over the plane of $w$ and $b$.
    For this neuron it is a bowl.
    """)
    return


@app.cell
def _(data, neuron, torch):
    ws = torch.linspace(-4, 6, 61, dtype=torch.float64)
    bs = torch.linspace(-5, 4, 55, dtype=torch.float64)
    losses = neuron.surface(data, ws, bs)
    return bs, losses, ws


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The gradient, by hand and by autograd

    Write $e_i = w x_i + b - y_i$. The chain rule gives

    $\\displaystyle \\frac{\\partial L}{\\partial w} = \\frac1n \\sum_i 2 e_i x_i, \\qquad
    \\frac{\\partial L}{\\partial b} = \\frac1n \\sum_i 2 e_i$.

    Autograd computes the same without being told the rule.
    """)
    return


@app.cell
def _(data, mo, neuron, torch):
    here = torch.tensor([-3.0, 3.0], dtype=torch.float64, requires_grad=True)
    neuron.loss(data, *here).backward()
    by_hand = torch.stack(neuron.gradient(data, *here.detach()))
    mo.md(f"""
    | at w = -3, b = 3 | dL/dw | dL/db |
    |---|---|---|
    | by hand | {by_hand[0]:.6f} | {by_hand[1]:.6f} |
    | by autograd | {here.grad[0]:.6f} | {here.grad[1]:.6f} |

    The largest difference is {float((by_hand - here.grad).abs().max()):.1e}.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## Descent

    Gradient descent repeats one line: *step against the gradient*, as far as the **rate** says.

    The gradient may be that of all samples (*full batch*), of one sample, or of a few (*mini-batch*).
    Move the sliders and watch the path.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    rate_slider = mo.ui.slider(
        steps=[0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], value=0.1, label="rate", show_value=True
    )
    batch_slider = mo.ui.slider(steps=[1, 2, 4, 8, 16, 32, 64], value=4, label="batch", show_value=True)
    mo.hstack([rate_slider, batch_slider], justify="start", gap=2)
    return batch_slider, rate_slider


@app.cell
def _(batch_slider, bs, data, figures, losses, lowest, neuron, rate_slider, ws):
    start = (-3.0, 3.0)
    full = neuron.descend(data, rate=rate_slider.value, batch=len(data), steps=40, start=start)
    path = neuron.descend(data, rate=rate_slider.value, batch=batch_slider.value, steps=40, start=start)
    figures.surface_with_paths(ws, bs, losses, {"full batch": full, f"batch of {batch_slider.value}": path}, lowest)
    return full, path


@app.cell
def _(batch_slider, data, full, mo, neuron, path, rate_slider):
    after = {name: float(neuron.loss(data, *one[-1])) for name, one in (("full", full), ("batch", path))}
    mo.md(f"""
    After 40 steps at a rate of {rate_slider.value}: the full batch's loss is **{after["full"]:.3g}**,
    that of batches of {batch_slider.value} is **{after["batch"]:.3g}**.

    The full batch looked at {40 * len(data)} samples, the small ones at {40 * batch_slider.value}.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    Too large a rate leaves the bowl. Where is the limit? A bowl of curvature $\\lambda$ (the largest eigenvalue of
    the second derivatives) throws a step out when the rate is above $2/\\lambda$.
    """)
    return


@app.cell
def _(data, mo, neuron, torch):
    columns = torch.stack([data.x, torch.ones_like(data.x)], dim=1)
    curvature = float(torch.linalg.eigvalsh(2 * columns.T @ columns / len(data)).max())
    limit = 2 / curvature
    ends = {
        factor: float(
            neuron.loss(data, *neuron.descend(data, rate=factor * limit, batch=64, steps=100, start=(-3.0, 3.0))[-1])
        )
        for factor in (0.95, 1.05)
    }
    mo.md(f"""
    The limit here is 2/{curvature:.2f} = **{limit:.3f}**.
    Full-batch descent of 100 steps at 0.95 of it ends at a loss of **{ends[0.95]:.3g}**, at 1.05 of it at
    **{ends[1.05]:.3g}**.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## The noise of a batch's gradient

    A batch's gradient is a mean over few samples. It is right on average, and off each time.
    We draw 2000 batches of each size and measure the mean squared distance to the gradient of all samples.
    """)
    return


@app.cell
def _(batches, data, figures):
    sizes = [1, 2, 4, 8, 16, 32, 64, 128]
    noise = [batches.gradient_noise(data, (0.0, 0.0), size) for size in sizes]
    figures.curves(
        "Noise of the gradient at w = 0, b = 0",
        "batch size",
        "mean squared distance",
        {"measured": (sizes, noise), "noise of one / batch": (sizes, [noise[0] / size for size in sizes])},
        log="xy2",
        dashed=["noise of one / batch"],
    )
    return noise, sizes


@app.cell
def _(mo, noise, sizes):
    mo.md(f"""
    From a batch of {sizes[0]} to one of {sizes[-1]} the noise falls from {noise[0]:.3g} to {noise[-1]:.3g}:
    by a factor of **{noise[0] / noise[-1]:.0f}**. Twice the batch is half the noise.
    """)
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## Why a bigger batch is not a faster descent for ever

    Less noise allows a larger rate, and a larger rate needs fewer steps. But the bowl limits the rate, too.

    For each batch size we try ten rates, keep the best, and count the steps until the loss is within 0.005 of the least
    (the mean of 50 runs). This takes some seconds.
    """)
    return


@app.cell
def _(batches, data, figures):
    tried = [0.4 * 0.7**power for power in range(10)]
    descents = batches.steps_to(data, [1, 2, 4, 8, 16, 32, 64, 128, 256], tried)
    figures.steps_against_batch(descents)
    return (descents,)


@app.cell
def _(descents, mo):
    rows = "\n".join(f"    | {one.batch} | {one.rate:.3f} | {one.steps} | {one.samples} |" for one in descents)
    mo.md(f"""
    | batch | best rate | steps | samples looked at |
    |---|---|---|---|
{rows}

    From {descents[0].batch} to {descents[2].batch} samples a step,
    {descents[0].steps / descents[2].steps:.1f} times fewer steps.
    From {descents[-3].batch} to {descents[-1].batch}, {descents[-3].steps / descents[-1].steps:.1f} times fewer, for
    {descents[-1].samples / descents[-3].samples:.1f} times the samples.

    Where the curve leaves the dashed line, more workers stop paying. Remember this for the second half of the course.
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

    The first button writes `{lesson.answer_name}` into the directory where you started the course.
    Fill in its two functions, then grade it. In a terminal: `hora learn 1 --grade {lesson.answer_name}`.
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
    import torch

    from hora.learn import batches, course, figures, grading, neuron

    lesson = course.lesson(1)
    return batches, figures, grading, lesson, mo, neuron, torch


if __name__ == "__main__":
    app.run()
