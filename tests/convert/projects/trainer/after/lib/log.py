import hora.torch as hvd


def say(epoch, loss, correct):
    if hvd.rank() == 0:
        print(f"epoch {epoch}: loss {loss:.4f}, {correct} right")
