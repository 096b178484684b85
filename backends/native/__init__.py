"""The native lowering for NumPy arrays (extra `native`): a Program as kernels of machine code around NumPy's own BLAS, in step on our own threads.

    emit        LLVM IR as text, by arithmetic on values            operations, math    the functions of the standard on such values
    compile     a kernel's description → the address of its code    loops               Loop: an expression over strided operands, with reductions
    gemm        Gemm: a matrix product, in parts for each thread    blas                where the product is found, how many threads it has
    workers     Pool: threads that walk lists of kernels in step

Every kernel is void(int64_t* table). A program is, for each thread, a list of (kernel, table), closed by 0: the parts of an operation that a thread
does are tables of its own (pointers moved, lengths cut), so that kernels know nothing of threads, and the same kernel serves any shape. A barrier
is a kernel in the lists. The tables' words that point into arrays of the caller are bound at each run.

    addresses = compile.addresses([Loop(…), Gemm("float32", bits), Barrier()])
    pool(threads()).run(program, arrays)                   the program's words: workers.Run
"""
