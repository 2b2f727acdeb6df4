#include <stdio.h>
#include <stdlib.h>
#include "convert.h"

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        printf("%d\n", fahrenheit(atoi(argv[i])));
    return 0;
}
