from django.db import models
from django.utils import timezone


class Entry(models.Model):
    """A message of a visitor."""

    name = models.CharField(max_length=50)
    text = models.CharField(max_length=280)
    written_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-written_at"]

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"
