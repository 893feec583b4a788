def say(epoch, loss, correct):
    print(f"epoch {epoch}: loss {loss:.4f}, {correct} right")
