"""The three brands of the demo and the neutral messages, by name."""

from examples.brands import clinic, luxe, neutral, tickets
from examples.brands.case import Brand, Case

BRANDS: dict[str, Brand] = {module.BRAND.name: module.BRAND for module in (luxe, tickets, clinic)}
NEUTRAL: Brand = neutral.BRAND

__all__ = ["BRANDS", "NEUTRAL", "Brand", "Case"]
