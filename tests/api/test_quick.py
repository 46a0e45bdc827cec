async def test_sends(project):
    user = await project.user(name="A")
    await project.device(user, "phone-quick")
    n = await project.send(user)
    shown = await project.until(n, "sent")
    assert shown["deliveries"][0]["emulated"]
