import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="4. Transforming a script")


@app.cell(hide_code=True)
def _(lesson, mo):
    mo.md(f"""
    # 4. Transforming a script

    **You will be able to:** {lesson.objective}

    The calls are Horovod's: `import hora.torch as hvd`. The batch size in the script stays the *global* one, so the learning rate stays, too.
    """)
    return


@app.cell
def _(judging, mo):
    mo.md(f"This is the script:\n\n```python\n{judging.script('train').read_text()}\n```")
    return


@app.cell
def _(mo, steps):
    listed = "\n".join(
        f"| {one.number} | **{one.title}** | {one.why} | {', '.join(one.codes)} |" for one in steps.STEPS
    )
    mo.md(f"## The seven steps\n\n| | step | otherwise | rules |\n|---|---|---|---|\n{listed}")
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## Each broken

    We leave one step out at a time. `hora check` *reads* the script. `hora verify` *runs* it on two workers beside one. They see different
    things: reading sees what this machine cannot show, such as a GPU that it does not have; running sees what is computed.

    Seven verifications take a while; each row of the table comes from one.
    """)
    return


@app.cell
def _(mo, steps):
    with mo.status.spinner(title="Seven steps, each left out once") as spinner:
        judged = []
        for one_step in steps.STEPS:
            spinner.update(f"without step {one_step.number}: {one_step.title}")
            judged.append(steps.broken(one_step))
    return (judged,)


@app.cell
def _(judged, judging, mo):
    told = "\n".join(
        f"| {one.step.number}. {one.step.title} | {', '.join(sorted({found.code for found in one.findings})) or 'nothing'} | "
        f"{judging.answer(one.judged.verification)} |"
        for one in judged
    )
    mo.md(f"| left out | hora check finds | hora verify says |\n|---|---|---|\n{told}")
    return


@app.cell(hide_code=True)
def _(judged, mo):
    step_slider = mo.ui.slider(1, len(judged), value=4, label="step left out", show_value=True)
    step_slider
    return (step_slider,)


@app.cell
def _(judged, judging, mo, step_slider):
    chosen = judged[step_slider.value - 1]
    found_lines = "\n".join(f"- line {found.line}: **{found.code}** {found.message}" for found in chosen.findings)
    mo.md(
        f"### Without step {chosen.step.number}: {chosen.step.title}\n\n{chosen.step.why}\n\n"
        f"```diff\n{chosen.judged.missing}\n```\n\n`hora check`:\n\n{found_lines or 'finds nothing'}\n\n"
        f"{judging.as_markdown(chosen.judged.verification)}"
    )
    return


@app.cell
def _(judged, judging, mo):
    unseen = [str(one.step.number) for one in judged if one.judged.verification.verdict == "equivalent"]
    mo.md(
        f"Step {' and '.join(unseen)} left out changes nothing that `hora verify` could see *on this machine*."
        if unseen
        else "Each step left out changes what is trained, printed or written."
    )
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## All mended

    Nothing left out: what `hora convert` writes. Both judges are asked again.
    """)
    return


@app.cell
def _(judging, mo, steps):
    whole = judging.judged("train")
    left = steps.findings(whole.text)
    mo.md(f"`hora check` finds {len(left) or 'nothing'}.\n\n{judging.as_markdown(whole.verification)}")
    return (whole,)


@app.cell(hide_code=True)
def _(grading, lesson, mo):
    write = mo.ui.button(label=f"Write {lesson.answer_name} here", on_click=lambda _: grading.start(lesson.number))
    judge = mo.ui.run_button(label="Grade it")
    mo.vstack(
        [
            mo.md(f"""
    ## Your turn

    {lesson.exercise}

    The first button writes `{lesson.answer_name}` into the directory where you started the course: it is the script above. Make the seven
    steps, then grade it. In a terminal: `hora learn 4 --grade {lesson.answer_name}`.
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


@app.cell(hide_code=True)
def _(mo):
    mo.md("""
    ## Yours, and `hora convert`'s

    Both files side by side; yours as it is when you graded it last.
    """)
    return


@app.cell
def _(Path, judge, lesson, mo, whole):
    judge
    yours = Path(lesson.answer_name)
    text = yours.read_text(encoding="utf-8") if yours.is_file() else "# not written yet"
    mo.hstack(
        [
            mo.md(f"**{lesson.answer_name}**\n\n```python\n{text}\n```"),
            mo.md(f"**hora convert**\n\n```python\n{whole.text}\n```"),
        ],
        widths="equal",
        align="start",
    )
    return


@app.cell
def _():
    from pathlib import Path

    import marimo as mo

    from hora.learn import course, grading, judging, steps

    lesson = course.lesson(4)
    return Path, grading, judging, lesson, mo, steps


if __name__ == "__main__":
    app.run()
