def gaps():
    return {}
