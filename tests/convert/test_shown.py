"""What is printed of a conversion is what was found, letter by letter."""

import io

from rich.console import Console

from hora.convert import convert
from hora.convert.report import show_reasons


def test_a_place_on_line_100_is_no_emoji(tmp_path):
    script = tmp_path / "train.py"
    loop = "    for x in loader:\n        model(x).mean().backward()\n        opt.step()\n"
    script.write_text("import torch\n" + "# \n" * 96 + "def train(model, loader, opt):\n" + loop)
    out = io.StringIO()
    show_reasons(convert(script), Console(file=out))
    assert f"{script}: not converted, nothing written\n{script}:100:9: HR909 " in out.getvalue()
