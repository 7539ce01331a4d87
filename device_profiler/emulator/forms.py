"""The forms of an emulated phone, and the choice among them."""

from dataclasses import dataclass

from device_profiler.emulator.form import Form
from device_profiler.emulator.namespace import NamespaceForm
from device_profiler.emulator.proot import ProotForm
from device_profiler.emulator.vm import VmForm
from device_profiler.errors import DeviceError, InputError


@dataclass(frozen=True)
class FormChoice:
    """The form that this machine runs best, and why the better ones were passed over."""

    form: Form
    passed_over: tuple[str, ...]

    def reason(self) -> str:
        """One line for a user."""
        return f"{self.form.name}: " + ("; ".join(self.passed_over) or "the default works here")


def all_forms() -> tuple[Form, ...]:
    """Every form, best first: by speed, then by how repeatable its clock is."""
    return (NamespaceForm(), ProotForm(), VmForm())


def find_form(name: str) -> Form:
    """The form called `name`.

    Raises:
        InputError: no such form.
    """
    forms = {form.name: form for form in all_forms()}
    for known, form in forms.items():
        if known == name:
            return form
    raise InputError(f"unknown form {name!r} of an emulated phone; known forms: {', '.join(forms)}")


def choose_form() -> FormChoice:
    """The best form that works here; kernel and policy are really tried.

    Raises:
        DeviceError: none works; the message says why, form by form.
    """
    obstacles: list[str] = []
    for form in all_forms():
        obstacle = form.obstacle()
        if obstacle is None:
            return FormChoice(form, tuple(obstacles))
        obstacles.append(f"not {form.name}: {obstacle}")
    raise DeviceError(f"no form of an emulated phone works here: {'; '.join(obstacles)}; attach a phone and "
                      f"use --device")
