"""How many steps a run has, where that is settled only once some of them were measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Horizon:
    """The last step of a run, and what each step's learning rate reckons with.

    A budget shortens a run after its first steps. Those keep the rate that they had, so that a run which is started
    again from nothing, but remembers what was settled, does every step as before.

    Attributes:
        configured: the steps that the configuration asks for.
        settled_at: the last step that was done when the number was settled; None if nothing was.
        settled: the steps that the run has since; `settled_at` <= `settled` <= `configured`.
    """

    configured: int
    settled_at: int | None = None
    settled: int | None = None

    @property
    def last_step(self) -> int:
        """The run's last step, as far as is known now."""
        return self.configured if self.settled is None else self.settled

    @property
    def is_settled(self) -> bool:
        """Whether a budget has decided."""
        return self.settled is not None

    def num_steps_at(self, step: int) -> int:
        """The steps that the learning rate of `step` (1-based) reckons with."""
        if self.settled_at is None or self.settled is None or step <= self.settled_at:
            return self.configured
        return self.settled

    def settle(self, step: int, num_steps: int) -> Horizon:
        """The horizon of a run that has done `step` steps and will have `num_steps`."""
        return Horizon(self.configured, step, min(self.configured, max(step, num_steps)))
