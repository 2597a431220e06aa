"""``calibrant methods``: what --method and --methods may name."""

import typer


def methods() -> None:
    """List the methods of fit and compare, with their options.

    Example: calibrant fit runs/val --method selective:num_epochs=5,base=vector-kept -o runs/selective
    """
    from calibrant._input.visible import visible
    from calibrant.methods import GROUPS, METHODS

    for name, method in METHODS.items():
        options = ", ".join(method.parameters)
        typer.echo(visible(f"{name:24} {method.title}{f' ({options})' if options else ''}"))
    for name, members in GROUPS.items():
        typer.echo(visible(f"{name:24} compare: {', '.join(members)}"))
